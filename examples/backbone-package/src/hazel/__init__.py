"""A backbone for Windthrow. Keep torch out of this file too: importing `hazel.description` runs it."""
