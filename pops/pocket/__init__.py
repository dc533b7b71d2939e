"""The embedded small stack: a world of rendered pictures and the models trained on it."""
