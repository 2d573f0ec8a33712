"""The door of the library: public functions read their arguments by their annotations before they work with them."""

from cnnjax.door.decorator import checked as checked
