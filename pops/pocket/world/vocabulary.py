"""The words of the pocket world: what can be in a picture and how a caption says it."""

from types import MappingProxyType

__all__ = [
    "ADJECTIVES",
    "BACKGROUNDS",
    "BACKGROUND_WORDS",
    "GARMENTS",
    "MATERIALS",
    "MATERIAL_WORDS",
    "OBJECTS",
]

OBJECTS = (
    "mug",
    "teapot",
    "vase",
    "bottle",
    "chair",
    "table",
    "lamp",
    "car",
    "house",
    "fish",
    "rabbit",
    "mushroom",
    "tree",
    "hat",
    "ball",
    "cube",
    "donut",
    "rocket",
    "snowman",
    "boat",
)

# Garment slots in the order of the human-parsing labels that the clothes operator uses; the
# mannequin wears a subset.
GARMENTS = ("hat", "top", "skirt", "trousers", "shoes", "bag", "scarf")

# material -> how it is said before a noun
MATERIAL_WORDS = MappingProxyType(
    {
        "wood": "wooden",
        "brick": "brick",
        "marble": "marble",
        "gold": "golden",
        "silver": "silver",
        "zebra": "zebra",
        "leopard": "leopard",
        "checker": "checkered",
        "stripes": "striped",
        "dots": "dotted",
        "knit": "knitted",
        "lava": "lava",
        "grass": "grass",
        "ice": "ice",
        "rainbow": "rainbow",
        "red": "red",
        "blue": "blue",
        "green": "green",
        "purple": "purple",
        "pink": "pink",
    }
)
MATERIALS = tuple(MATERIAL_WORDS)

# background -> how it is said after a noun
BACKGROUND_WORDS = MappingProxyType(
    {
        "studio": "in a white studio",
        "beach": "on the beach",
        "forest": "in the forest",
        "night": "at night",
        "snow": "in the snow",
        "room": "in a room",
        "desert": "in the desert",
        "city": "in the city",
    }
)
BACKGROUNDS = tuple(BACKGROUND_WORDS)

ADJECTIVES = ("tiny", "enormous", "many", "shiny", "dark", "frozen", "burning")
