/**
 * The hand-made descriptor (tests/fixtures), built by its Python script into a folder that goes
 * when the tests end. The interpreter is the checkout's environment, $PYTHON, or python3; it needs
 * numpy and ziglang.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** @returns {string} the folder */
export function tiny() {
  const own = join(root, '.venv', 'bin', 'python');
  const folder = mkdtempSync(join(tmpdir(), 'webdnn-tiny-'));
  execFileSync(
    existsSync(own) ? own : (process.env.PYTHON ?? 'python3'),
    [join(root, 'tests', 'fixtures', 'tiny_model.py'), folder],
    { stdio: 'inherit' },
  );
  after(() => rmSync(folder, { recursive: true }));
  return folder;
}
