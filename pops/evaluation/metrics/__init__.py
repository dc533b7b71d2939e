"""The metrics: a class each, and a row in a table.

Modules:
    table      all metrics by name
    base       the form of a metric, and running several together
    likeness   likeness of whole pictures, and of pictures to texts
    structure  agreement of edges and of depth
    regions    what is measured inside and outside of the things that a detector finds
    several    several things in a picture: lost ones, leaking looks, garments
    judged     marks of a vision-language model
"""
