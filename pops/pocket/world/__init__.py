"""The pocket world: a small, exactly known place that renders its own pictures."""
