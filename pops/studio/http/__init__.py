"""The studio over HTTP: what is let in, what is answered at once, and what becomes a job.

security   ASGI middleware: allow-list of paths, checks of the sender, security headers
hosts      the names that the studio may be called by, and the places that visitors come from
waiting    connections that send no request, and are closed
login      the password, where the studio has one
streams    answers that stay open, and how many there may be
bodies     reading the bodies of requests, within limits of time and memory
messages   the JSON that requests may hold, checked before anything acts on it
refusals   why a request is not taken
routes     quick requests: the page, uploads, pictures, embeddings, checks
calls      jobs, as calls of Gradio's API
tools      the same jobs as tools of assistants, over the Model Context Protocol
"""
