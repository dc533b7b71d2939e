"""The stages that make the pocket stack, each resumable and with a budget of time."""
