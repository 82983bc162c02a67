"""What becomes of an exception that a damaged file causes in code which trusts what it reads.

    except NO_DAMAGE:
        raise
    except Exception as error:
        raise damaged("Pad node 'p': its attributes or constants are", error) from error

Each reader reports what it checks in words of its own. This is for the rest: at the nodes of a
model, where the message can name the node, and around the whole import of a file. A fault of ours
looks the same from there, so that the message says how to find it.
"""

from __future__ import annotations

from ..errors import ModelError

# What no content of a file causes, or has an error of its own already.
NO_DAMAGE = (OSError, MemoryError, NameError, ImportError)


def damaged(what: str, error: Exception) -> ModelError:
    """The error for what (a subject and "is" or "are") nothing more exact is known of."""
    text = " ".join(str(error).split())[:300]
    return ModelError(
        f"{what} damaged, or of a kind that WebDNN does not know ({type(error).__name__}: {text}). "
        "Get the file again; if it is sound, this is a fault of WebDNN, and WEBDNN_DEBUG=1 shows "
        "where"
    )


__all__ = ["NO_DAMAGE", "damaged"]
