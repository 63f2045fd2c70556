"""Every file of a datalist opened, and what is wrong with it."""
