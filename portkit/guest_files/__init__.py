"""What files of a guest say, as libguestfs shows them: kernels, initrds, programs for UEFI.

Standard library only, with `portkit.wire`: `portkit.needs.inside_worker` runs in the Python that
has libguestfs, which need not be portkit's. A guest writes these files.
"""
