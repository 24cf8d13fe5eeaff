export type SoftFloat = any;
