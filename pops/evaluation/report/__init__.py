"""Reports of evaluations.

Modules:
    statistics  means with their intervals, and differences of methods
    tables      tables in Markdown and LaTeX
    figures     figures with intervals
    write       the files of a report
"""
