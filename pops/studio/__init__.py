"""The studio: operators in the browser. A page, and the HTTP interface that it uses.

Data flows from `http` through `service` into `jobs`, and from the worker back through `store`.

    app       `pops studio`: starts the server
    config    its settings
    service   requests checked and turned into jobs
    spelling  compositions as Python and as a command
    store     pictures and embeddings in memory, under ids that nobody can guess
    uploads   files that people send, checked
    saved     compositions in one file
    about     what the page tells of the stack
    jobs      one bounded queue, its worker, and the work of a job
    http      the server: what is let in, what is answered at once, and what becomes a job
    page      the page: HTML, CSS and JavaScript
"""
