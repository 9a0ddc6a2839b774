"""Errors a user can mend. The command line prints them as one line and exits with code 2."""


class UserError(ValueError):
    """Base of all errors caused by the user's input: message = where, what came, what was expected."""


class AssetError(UserError):
    """An object folder (object.yaml, mesh, texture) is wrong."""


class ConfigError(UserError):
    """A configuration file or a command-line value is wrong."""


class DataError(UserError):
    """A data set (images, annotations) is wrong."""


class InUseError(UserError):
    """Another process writes into the folder."""


class EnvironmentProblem(UserError):
    """The machine lacks something the program needs (a GL driver, a package, disk space)."""
