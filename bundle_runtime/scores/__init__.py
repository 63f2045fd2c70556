"""Honest scores: Dice, HD95 and ROC AUC with a stated policy for what is missing, and bootstrap intervals."""
