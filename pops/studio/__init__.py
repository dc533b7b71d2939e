"""The studio: operators in the browser. A page, and the HTTP interface that it uses.

Data flows from `http` through `service` into `queue`, and from the worker back through `store`.

    app        `pops studio`: starts the server
    config     its settings
    service    requests checked and turned into jobs
    queue      one bounded queue of jobs, and one worker
    job        a job, and what it tells whoever follows it
    runner     the work of a job: operators and grids
    compose    compositions: checked, and run with what is known already
    options    the settings of a job
    spelling   compositions as Python and as a command
    store      pictures and embeddings in memory, under ids that nobody can guess
    uploads    files that people send, checked
    saved      compositions in one file
    about      what the page tells of the stack
    http       the server: what is let in, what is answered at once, and what becomes a job
    page       the page: HTML, CSS and JavaScript
"""
