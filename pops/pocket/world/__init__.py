"""The pocket world: a small, exactly known place that renders its own pictures.

Modules:
    vocabulary   the words: what can be in a picture, and how a caption says it
    scene        everything about a picture as plain data, with a caption
    split        which combinations, pairs and outfits are held out of training
    outfits      garments that can be worn together
    near         near misses of pairs and outfits
    geometry     forms, and where rays meet them
    shading      surfaces, backgrounds and light
    render       scenes to pictures, with the exact place of every item
    cutout       things cut out on white
    sheet        contact sheets and the default inputs
"""
