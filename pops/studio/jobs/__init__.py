"""Jobs: the work that the studio is asked for, in the order in which it was asked for.

Modules:
    queue    one bounded queue of jobs, and one worker
    job      a job, and what it tells whoever follows it
    options  the settings of a job
    runner   the work of a job: operators, applied and rendered
    grid     grids, cell by cell
    compose  compositions: checked, and run with what is known already
    finder   the search of an index for what a composition gives
"""
