"""The commands that draw the pocket world, and what its operators make of it."""

from contextlib import closing

from pops.cli.steps import load
from pops.io.files import make_folder
from pops.io.pictures import save_picture
from pops.operators import OPERATORS, find_operator
from pops.settings.commands import PocketAssetsConfig, PocketResultsConfig, PocketSheetConfig
from pops.settings.progress import ProgressBars

__all__ = ["pocket_assets", "pocket_results", "pocket_sheet"]


def pocket_sheet(config: PocketSheetConfig) -> int:
    """Run `pops pocket sheet`: draw contact sheets of the pocket world.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    from pops.pocket.world import sheet

    with closing(ProgressBars()) as progress:
        for path in sheet.draw(make_folder(config.out), config.seed, progress):
            print(path)
    return 0


def pocket_assets(config: PocketAssetsConfig) -> int:
    """Run `pops pocket assets`: draw the default input pictures.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    from pops.pocket.world import sheet

    with closing(ProgressBars()) as progress:
        sheet.draw_assets(make_folder(config.out), progress)
    print(f"{config.out}  (objects, textures, backgrounds, garments)")
    return 0


def pocket_results(config: PocketResultsConfig) -> int:
    """Run `pops pocket results`: draw a contact sheet of results of each operator.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    names = list(OPERATORS) if config.operator == "all" else [find_operator(config.operator).name]
    engine = load(config)
    from pops.evaluation.pocket.sheets import result_sheet

    folder = make_folder(config.out)
    with closing(ProgressBars()) as progress:
        for name in names:
            sheet = result_sheet(name, engine, config.count, progress)
            save_picture(sheet, folder / f"pocket-{name}.jpg")
            print(folder / f"pocket-{name}.jpg")
    return 0
