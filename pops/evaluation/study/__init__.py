"""User studies: which of two pictures do people prefer?

Modules:
    make    writes the page of a study, with blinded pairs
    report  reads the answers: shares with intervals, and agreement
"""
