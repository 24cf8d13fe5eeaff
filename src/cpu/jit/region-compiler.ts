import { type FunctionType, ModuleBuilder } from "../../emit/index.ts";
import { Decoder } from "../decode/decoder.ts";
import { BULK } from "../interp/bulk.ts";
import { OPERATE } from "../interp/imports.ts";
import type { Form } from "../isa/define.ts";
import { COLLECT } from "../isa/float-lanes.ts";
import { importColdPaths } from "./cold-paths.ts";
import type { KnownDevices } from "./device-access.ts";
import type { CompiledModule } from "./host-lookup.ts";
import type { CodeContext } from "./memory-access.ts";
import type { Region } from "./region.ts";
import { RegionBuilder } from "./region-builder.ts";
import { type CodePlace, REGION_LIMITS, RegionFinder, type RegionLimits, type SeenTargets } from "./region-finder.ts";
import { TraitTable } from "./traits.ts";

export interface CompilerOptions {
  /** Types of the soft-float functions, by name. */
  readonly softfloat: Readonly<Record<string, FunctionType>>;
  readonly limits?: RegionLimits;
}

/** What the code of one region is written into. */
export interface Surroundings {
  readonly devices?: KnownDevices | undefined;
  /** See `RegionBuilder.jumpSite`. */
  readonly jumpSite: (host: number) => number | undefined;
  /** See `MemoryAccess.newSite`. */
  readonly newSite: () => number;
}

/** Finds regions and compiles them to WebAssembly, from the definitions that the interpreter is made of. */
export class RegionCompiler {
  private readonly softfloat: Readonly<Record<string, FunctionType>>;
  private readonly finder: RegionFinder;

  constructor(forms: readonly Form[], { softfloat, limits = REGION_LIMITS }: CompilerOptions) {
    this.softfloat = softfloat;
    const traits = new TraitTable(forms, this.newModule([...Object.keys(softfloat), COLLECT.name]));
    this.finder = new RegionFinder(new Decoder(forms), traits, limits);
  }

  /** The region that begins at a place; undefined when not even its first instruction can be compiled. */
  find(place: CodePlace, context: CodeContext, seenTargets?: SeenTargets): Region | undefined {
    return this.finder.find(place, context, seenTargets);
  }

  /** A module that exports region i as `r<i>`: (cpu) → REGION. It imports from `coldModule`, the interpreter and soft-float. */
  compile(regions: readonly Region[], surroundings: readonly Surroundings[]): Uint8Array<ArrayBuffer> {
    const helpers = new Set<string>();
    for (const { blocks } of regions) {
      for (const { instructions } of blocks) {
        for (const { traits } of instructions) for (const name of traits.helpers) helpers.add(name);
      }
    }
    const parts = this.newModule([...helpers]);
    regions.forEach((region, index) => {
      const x = RegionBuilder.create(parts, `r${index}`, region.context);
      const { devices, jumpSite, newSite } = surroundings[index]!;
      x.devices = devices;
      x.jumpSite = jumpSite;
      x.newSite = newSite;
      x.write(region);
      parts.module.export(`r${index}`, x);
    });
    return parts.module.build();
  }

  /** `names`: of the helpers that its code may call. */
  private newModule(names: readonly string[]): CompiledModule {
    const module = new ModuleBuilder();
    module.importMemory("env", "memory");
    const imports = names.map((name) => {
      const type = this.softfloat[name];
      const helper = type
        ? module.importFunction("softfloat", name, type)
        : module.importFunction("interpreter", name, COLLECT.type);
      return [name, helper] as const;
    });
    const bulk = module.importFunction("interpreter", "bulk", BULK);
    const operate = module.importFunction("interpreter", "operate", OPERATE);
    return { module, helpers: new Map(imports), bulk, operate, cold: importColdPaths(module) };
  }
}
