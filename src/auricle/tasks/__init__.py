"""What a downstream task is: its card, and one sub-folder for each type of task."""
