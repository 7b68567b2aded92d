// Print the embedding that face-api computes of a picture: node embedding.js PACKAGE PICTURE, the picture as 150 x 150 x 3 bytes.
// The package is made for browsers, so it runs in a context that looks like one; TensorFlow.js computes on the CPU.
const fs = require('fs');
const vm = require('vm');

const [, , folder, file] = process.argv;
const none = class {};
const page = {
  TextEncoder, TextDecoder, performance, setTimeout, clearTimeout, console,
  Int32Array, Float32Array, Uint8Array, ArrayBuffer,
  document: { createElement: () => ({ getContext: () => null }), body: {} },
  navigator: { userAgent: '' },
  addEventListener: () => {},
};
page.window = page;
page.self = page;
vm.createContext(page);
vm.runInContext(`${fs.readFileSync(`${folder}/dist/face-api.js`, 'utf8')}\n;this.faceapi = faceapi;`, page);

async function embed() {
  const { faceapi } = page;
  const { tf } = faceapi;
  faceapi.env.setEnv({ Canvas: none, CanvasRenderingContext2D: none, Image: none, ImageData: none, Video: none });
  await tf.setBackend('cpu');
  const manifest = JSON.parse(fs.readFileSync(`${folder}/model/face_recognition_model-weights_manifest.json`));
  const values = new Uint8Array(fs.readFileSync(`${folder}/model/face_recognition_model.bin`));
  const network = new faceapi.FaceRecognitionNet();
  network.loadFromWeightMap(tf.io.decodeWeights(values.buffer, manifest[0].weights));
  const picture = tf.tensor3d(Array.from(fs.readFileSync(file)), [150, 150, 3]);
  return Array.from(await network.computeFaceDescriptor(picture));
}

embed().then((embedding) => console.log(JSON.stringify(embedding)), (error) => {
  console.error(error);
  process.exit(1);
});
