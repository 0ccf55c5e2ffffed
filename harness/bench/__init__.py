"""The main job: measure control and candidate, judge them by targets and a baseline."""
