"""What people type: `python -m mae_tools <command>`, everything around the bundles that is not a bundle run itself."""
