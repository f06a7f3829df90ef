#!/usr/bin/env node
// Only what any Node of the last ten years can read: an older one must get as far as the sentence.
const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`dpemu: error: dpemu needs Node 20.19 or newer, this is Node ${process.versions.node} [E_NODE_VERSION]`)
  process.exitCode = 2
} else {
  import('../dist/cli/cli.js').then(({ main }) => main(process.argv.slice(2)))
}
