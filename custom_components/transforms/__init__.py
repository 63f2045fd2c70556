"""Dictionary transforms that MONAI lacks: tumour labels by name, quick crops, faithful label maps, single objects."""
