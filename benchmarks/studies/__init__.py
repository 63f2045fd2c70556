"""Does self pre-training help? Studies of many runs, resumable, with tables and figures made from small JSON files."""
