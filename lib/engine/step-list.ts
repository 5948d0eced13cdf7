import type { ProgramStep } from './program';

/** How a value lies: images in the engine's layout, tensors row-major. */
export type Layout = 'images' | 'tensor';

/** Steps on their way to a program; values are the inputs, then what each step makes. */
export class StepList {
  readonly steps: ProgramStep[] = [];
  private readonly layouts: Layout[];
  /** By value, the number of the same value in the other layout where there is one. */
  private readonly others = new Map<number, number>();

  /** @param inputs how each lies */
  constructor(private readonly inputs: readonly Layout[]) {
    this.layouts = [...inputs];
  }

  /** @returns the value that the step makes */
  add(step: ProgramStep, layout: Layout = 'images'): number {
    this.steps.push(step);
    return this.layouts.push(layout) - 1;
  }

  /** Takes the last step back, which nobody has read. */
  removeLast(): void {
    this.steps.pop();
    this.layouts.pop();
  }

  /** The step that makes a value; undefined of an input. */
  makerOf(value: number): ProgramStep | undefined {
    return this.steps[value - this.inputs.length];
  }

  isLast(value: number): boolean {
    return value === this.layouts.length - 1;
  }

  layoutOf(value: number): Layout {
    return this.layouts[value]!;
  }

  /** A value as images, or as a tensor: itself, or a copy, made once. */
  inLayout(value: number, layout: Layout, name: string): number {
    if (this.layouts[value] === layout) return value;
    const known = this.others.get(value);
    if (known !== undefined) return known;
    const other = this.add({ kind: layout === 'images' ? 'toImages' : 'toTensor', name, inputs: [value] }, layout);
    this.others.set(value, other);
    return other;
  }
}
