"""The pocket benchmark: operators measured on combinations that they have never seen.

Modules:
    run      asks the operators, finds the nearest pictures and gives the numbers
    single   requests and galleries of single objects
    several  requests and galleries of pairs and outfits
"""
