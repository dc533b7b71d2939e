"""Training of operators: the loss and the loop."""
