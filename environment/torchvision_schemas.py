"""Lets the torchvision of PyPI, a CUDA build, be imported beside a CPU build of torch.

Its compiled operators cannot be loaded there, which it takes calmly, until it registers shapes for two of
them that then do not exist ("operator torchvision::nms does not exist"). This declares the two. The
processors of transformers need torchvision importable; none of its operators is called.

Copied into the venv's site-packages with a .pth that calls install() at each start of Python, so that the
subprocesses of inference engines have it too: hence no import here, and nothing done before torchvision is.
"""

import sys

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class _ExtensionFinder:
    """Finds torchvision.extension, the module that tries to load the operators, and acts once it has."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "torchvision.extension":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_then_declare(module):
            execute(module)
            if not module._has_ops():
                _declare()

        spec.loader.exec_module = execute_then_declare
        return spec


def _declare():
    from torch.library import Library

    global _library  # a Library takes its schemas with it when it goes
    _library = Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        _library.define(schema)


def install():
    sys.meta_path.insert(0, _ExtensionFinder)
