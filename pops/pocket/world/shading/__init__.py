"""The surfaces, backgrounds and light of the pocket world.

Modules:
    noise        smooth noise and cells for materials
    materials    colour and finish of solids
    backgrounds  places: ground, sky and light
    shade        materials under light
"""
