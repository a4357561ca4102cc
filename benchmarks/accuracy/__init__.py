"""How often mien is right: on FER2013, on photographs, on corrupted images; and whether two checkouts agree."""
