"""What this machine can do, said before anything is started on it."""
