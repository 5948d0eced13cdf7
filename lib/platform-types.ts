declare global {
  // Our declarations speak of these. Node's types and the DOM's declare them too: being empty, these merge with theirs, and
  // stand alone in a program that has neither.
  interface AbortSignal {}
  interface URL {}
}

export {};
