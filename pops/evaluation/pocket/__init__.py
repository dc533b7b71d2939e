"""The pocket benchmark: operators measured on combinations that they have never seen.

Modules:
    run      asks the operators, finds the nearest pictures and gives the numbers
    cases    tasks with their pictures drawn and their galleries encoded
    task     the form of what an operator is asked
    single   requests and galleries of single objects
    several  requests and galleries of pairs and outfits
    intervals  the intervals of shares
    shown    what can be seen in a picture: how galleries name theirs
    patches  square patches of a material, cut out of pictures
    judged   what can be said of rendered pictures
    sheets   contact sheets of results
"""
