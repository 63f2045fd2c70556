"""Every picture for people."""
