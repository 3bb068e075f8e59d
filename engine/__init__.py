"""The engine of Easel: turns recipes into pictures; knows no people and no rows."""
