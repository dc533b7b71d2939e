"""The hub: repositories that are found in its cache, downloaded from it, or sent to it.

Modules:
    snapshots     finds repositories in the hub's cache, or downloads them
    repositories  those that are known: revisions, licences, sizes, files
    asking        asks the hub before a download, and tells why it refuses
    sharing       operator folders that are sent to the hub, and fetched from it
    model_card    the model card of an operator folder
"""
