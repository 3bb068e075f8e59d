"""Inspection: what picture files of any origin say of themselves, for people and programs that ask."""
