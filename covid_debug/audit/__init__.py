"""Tests whether burned-in text drives predictions, by interventions on the film.

Python binds every imported package to its name in the parent, so ``covid_debug.audit`` is this
package as soon as anything in it is loaded. The public function of the same name is therefore the
package called: ``cd.audit(classifier, films)`` is :func:`covid_debug.notebook.audit`.
"""

import importlib
import sys
from types import ModuleType


class _CallablePackage(ModuleType):
    @property
    def __doc__(self) -> object:  # type: ignore[override]
        return importlib.import_module("covid_debug.notebook").audit.__doc__

    @property
    def __wrapped__(self) -> object:
        return importlib.import_module("covid_debug.notebook").audit

    def __call__(self, *args: object, **kwargs: object) -> object:
        return importlib.import_module("covid_debug.notebook").audit(*args, **kwargs)

    def __reduce__(self) -> tuple[object, tuple[str]]:  # for joblib and process pools
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _CallablePackage
