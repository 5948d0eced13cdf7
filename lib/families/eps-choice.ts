/** The eps that a block's BatchNorms are taken to have, and why. */
export interface EpsChoice {
  readonly value: number;
  readonly source: string;
}
