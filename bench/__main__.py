"""`python -m bench`: ours beside ONNX Runtime Web and LiteRT.js on WebAssembly."""

import sys

from bench.wasm_peers import main

sys.exit(main())
