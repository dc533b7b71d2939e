"""Which metrics can be trusted: a check on the pocket world, where it is known what is right.

Modules:
    candidates  pictures that answer a request: true, wrong, of operators and means, and noise
    truth       how right a picture is, part by part
    check       measures the candidates, and keeps what is measured
    ranks       ranks them by the metrics and by the truth, and says which can be trusted
    write       the table, the figure and the page
"""
