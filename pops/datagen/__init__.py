"""Making training data: one generator per kind of record, over five swappable model stages.

    words.py       what prompts are made of          generators.py  prompt → record, one script each
    stages.py      the contracts of the stages       scheduler.py   many scripts, batched by stage
    pocket.py      stages answered exactly           store.py       the folder: atomic, resumable
    models.py      stages answered by models         run.py         a run, from settings to folder
    presets.py     which models answer

Sample i of a run is a pure function of (seed, i): what is asked, of which model, with which seeds.
"""
