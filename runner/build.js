/**
 * The runner as pages download it: `dist/`, one file for each of its doors with all that it imports.
 *
 *     npm run build    # or `make runner`
 *
 * A module that imports others, which import others again, costs a page a round trip for each of
 * these steps. `dist/` is checked in, so that a checkout transpiles without Node; its `sources` is the
 * SHA-256 of `src/`, by which tests see that it is of today.
 */
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const source = new URL('src/', import.meta.url);
const output = new URL('dist/', import.meta.url);

/** A module that is imported when it is needed stays a file of its own. @type {import('esbuild').Plugin} */
const apart = {
  name: 'apart',
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\// }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path, external: true } : undefined,
    ),
};

/** The files of dist/ that esbuild makes, by name. */
export async function bundles() {
  const { outputFiles } = await build({
    entryPoints: ['bound', 'index', 'loops-gpu', 'pictures', 'pictures-gpu', 'worker', 'worklet'].map(
      (door) => fileURLToPath(new URL(`${door}.js`, source)),
    ),
    outdir: fileURLToPath(output),
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    plugins: [apart],
  });
  return Object.fromEntries(
    outputFiles.map(({ path, text }) => [path.replace(/.*[\\/]/, ''), text]),
  );
}

/** The SHA-256 of src/: of each file's name and text, in the order of their names. */
export function sources() {
  const hash = createHash('sha256');
  const names = readdirSync(source, { recursive: true }).map((name) => name.replaceAll('\\', '/'));
  for (const name of names.filter((name) => name.endsWith('.ts') || name.endsWith('.js')).sort())
    hash.update(`${name}\0`).update(readFileSync(new URL(name, source)));
  return hash.digest('hex');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(await bundles()))
    writeFileSync(new URL(name, output), text);
  copyFileSync(new URL('types.d.ts', source), new URL('types.d.ts', output));
  writeFileSync(new URL('sources', output), `${sources()}\n`);
}
