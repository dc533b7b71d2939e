"""The pocket world: a small, exactly known place that renders its own pictures.

Modules:
    vocabulary   the words: what can be in a picture, and how a caption says it
    scene        everything about a picture as plain data, with a caption
    split        which combinations, pairs and outfits are held out of training
    outfits      garments that can be worn together
    near         near misses of pairs and outfits
    shapes       the objects, as signed distance functions
    garments     a mannequin and its garments, likewise
    trace        where rays meet shapes
    noise        smooth noise and cells for materials
    materials    colour and finish of solids
    backgrounds  places: ground, sky and light
    shade        materials under light
    render       scenes to pictures, with the exact place of every item
    cutout       things cut out on white
    sheet        contact sheets and the default inputs
"""
