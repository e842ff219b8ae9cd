// Real Yjs behind standard input: one JSON request a line, one JSON answer a line (tests/room/test_positions.py).
//
// A request is about one document, kept until a request says `reset`.  All other fields may be left out:
//   update     base64, applied to the document
//   text       path of a text, e.g. ["cells", 0, "source"]; needed by what follows
//   edits      [[index, deleted, inserted], ...], done in the text one after the other
//   positions  relative positions as JSON, as a peer publishes them
//   create     [[index, assoc], ...]: positions that Yjs itself is to make
// The answer: `content` of the text, `update` (base64, the whole document), `indices` of the positions (null where
// Yjs finds none, or finds it in another text) and the `created` positions as JupyterLab publishes them.
// Indices are UTF-16 units.
import { createInterface } from 'node:readline';
import * as Y from 'yjs';

let doc = new Y.Doc();

function textAt([root, ...path]) {
  let found = doc.getArray(root);
  for (const step of path) {
    found = found.get(step);
  }
  return found;
}

function indexIn(text, position) {
  const found = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(position), doc);
  return found !== null && found.type === text ? found.index : null;
}

function answer({ reset = false, update = null, text = null, edits = [], positions = [], create = [] }) {
  if (reset) {
    doc = new Y.Doc();
  }
  if (update !== null) {
    Y.applyUpdate(doc, Buffer.from(update, 'base64'));
  }
  if (text === null) {
    return {};
  }
  const source = textAt(text);
  doc.transact(() => {
    for (const [index, deleted, inserted] of edits) {
      source.delete(index, deleted);
      source.insert(index, inserted);
    }
  });
  return {
    content: source.toString(),
    update: Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64'),
    indices: positions.map((position) => indexIn(source, position)),
    created: create.map(([index, assoc]) => Y.createRelativePositionFromTypeIndex(source, index, assoc)),
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(answer(JSON.parse(line))) + '\n');
}
