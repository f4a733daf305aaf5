// Unpacks the Chromium of the npm package @sparticuz/chromium: node unpack.mjs FOLDER
// FOLDER has the package in node_modules; afterwards it has `chromium`, `lib` and `fonts`.

import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { brotliDecompressSync } from "node:zlib";

const folder = resolve(process.argv[2]);
const packed = join(folder, "node_modules/@sparticuz/chromium/bin");

function unpack(name, target) {
  writeFileSync(target, brotliDecompressSync(readFileSync(join(packed, `${name}.br`))));
}

unpack("chromium", join(folder, "chromium"));
chmodSync(join(folder, "chromium"), 0o755);
// The libraries of it that a bare machine lacks, and a font.
for (const name of ["al2023.tar", "fonts.tar"]) {
  const archive = join(folder, name);
  unpack(name, archive);
  execFileSync("tar", ["--extract", "--no-same-owner", "--file", archive, "--directory", folder]);
  rmSync(archive);
}
rmSync(packed, { recursive: true });
writeFileSync(join(folder, "fonts.conf"), `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>${folder}/fonts</dir><cachedir>${folder}/font-cache</cachedir></fontconfig>
`);
