// The webcam over a WebSocket: one frame under way, the newest one next.

import { Problem, authorization, call, openLive } from "./api.js";
import { showAnswer, showNothing, showProblem } from "./answer.js";
import { byId, number } from "./dom.js";
import { typedOptions } from "./options.js";
import { drawFaces, setStage } from "./stage.js";

const LONGEST_SIDE = 640;
const QUALITY = 0.85;
const video = byId("video");
const canvas = document.createElement("canvas");
let running = null;

const frame = () => {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
};

const say = (text) => {
  byId("waiting").hidden = text === "";
  byId("waiting").lastChild.textContent = text;
};

const send = async (session) => {
  const image = await frame();
  if (running === session && image && session.socket.readyState === WebSocket.OPEN) {
    session.sentAt = performance.now();
    session.socket.send(image);
  }
};

const answered = (session, message) => {
  const now = performance.now();
  session.times = [...session.times.filter((time) => now - time < 2000), now];
  const result = message.result;
  // The face that was chosen stays chosen while there are as many.
  if (session.chosen >= result.faces.length) session.chosen = 0;
  const choose = (index) => (session.chosen = index);
  drawFaces(result, session.chosen, choose);
  if (now - session.shownAt > 250) {
    session.shownAt = now;
    showAnswer({ name: "webcam", live: true, result }, session.chosen, choose, {});
  }
  say(`${number(session.times.length / 2)} frames/s, ${Math.round(now - session.sentAt)} ms`);
};

const connect = (session) => new Promise((done, fail) => {
  const socket = (session.socket = openLive());
  socket.addEventListener("open", () =>
    socket.send(JSON.stringify({ type: "hello", authorization: authorization(), options: typedOptions() })));
  socket.addEventListener("message", (event) => {
    if (running !== session) return;
    const message = JSON.parse(event.data);
    if (message.type === "ready") done();
    else if (message.type === "answer") answered(session, message);
    else fail(new Problem(message.error, message.error.status));
    if (message.type === "error" && session.live) showProblem("", message.error);
    if (message.type !== "ready") send(session);
  });
  socket.addEventListener("close", () => {
    fail(new Problem({ title: "Connection lost", detail: "The cluster has ended the connection." }, 0));
    if (running === session && session.live) stopCamera();
  });
});

const explain = (error) => {
  if (error instanceof Problem) return error;
  const said = {
    NotAllowedError: "This page may not use the camera. Allow it in the browser’s address bar.",
    NotFoundError: "There is no camera.",
    NotReadableError: "Another program uses the camera.",
  };
  const secure = "Browsers give pages a camera only over HTTPS or on localhost.";
  return new Problem({ title: "No camera", detail: navigator.mediaDevices ? said[error.name] ?? error.message : secure }, 0);
};

export const startCamera = async () => {
  stopCamera();
  const session = (running = { socket: null, stream: null, chosen: 0, times: [], sentAt: 0, shownAt: 0, live: false });
  setStage("camera");
  drawFaces(null);
  showNothing();
  say("starting the camera");
  try {
    // Asks for a key, if one is needed, before the camera is switched on.
    await call("/api/status");
    session.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" }, audio: false });
    if (running !== session) return stopTracks(session);
    video.srcObject = session.stream;
    await video.play();
    say("connecting");
    await connect(session);
    session.live = true;
    say("recognising");
    send(session);
  } catch (error) {
    if (running !== session) return;
    stopCamera();
    showProblem("", explain(error));
  }
};

const stopTracks = (session) => session.stream?.getTracks().forEach((one) => one.stop());

let stopped = () => {};
export const whenCameraStops = (told) => (stopped = told);

export const stopCamera = () => {
  const session = running;
  if (!session) return;
  running = null;
  stopTracks(session);
  session.socket?.close();
  video.srcObject = null;
  byId("waiting").lastChild.textContent = "recognising";
  byId("waiting").hidden = true;
  drawFaces(null);
  stopped();
};
