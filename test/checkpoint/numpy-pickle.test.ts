import { truncateSync } from 'node:fs';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import type { Checkpoint } from '../../lib/checkpoint/state-dict';
import { refusal } from '../support/refusal';
import { reportedPath } from '../support/reported';
import { temporaryFolder } from '../support/temporary';
import { call, dict, global, type Item, item, pickle, torchFile, tuple } from '../support/torch-file';

const folder = temporaryFolder();
let files = 0;

function read(bytes: Uint8Array, options?: Parameters<typeof readCheckpoint>[1]): Promise<Checkpoint> {
  return readCheckpoint(folder.write(`${files++}.pkl`, bytes), options);
}

/**
 * An OrderedDict as numpy 2.4 and CPython 3.11 write it in each protocol: arange(6) as 2x3 in C and Fortran order, little and big
 * endian, and arrays of every kind.
 */
const BY_NUMPY = [
  'Y2NvbGxlY3Rpb25zCk9yZGVyZWREaWN0CnAwCih0UnAxClZjCnAyCmNudW1weS5fY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApwMwooY251bXB5Cm5kYXJyYXkKcDQKKEkwCnRwNQpjX2NvZGVjcwplbmNvZGUKcDYKKFZiCnA3ClZsYXRpbjEKcDgKdHA5ClJwMTAKdHAxMQpScDEyCihJMQooSTIKSTMKdHAxMwpjbnVtcHkKZHR5cGUKcDE0CihWZjQKcDE1CkkwMApJMDEKdHAxNgpScDE3CihJMwpWPApwMTgKTk5OSS0xCkktMQpJMAp0cDE5CmJJMDAKZzYKKFZcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDCAP1x1MDAwMFx1MDAwMFx1MDAwMEBcdTAwMDBcdTAwMDBAQFx1MDAwMFx1MDAwMIBAXHUwMDAwXHUwMDAwoEAKcDIwCmc4CnRwMjEKUnAyMgp0cDIzCmJzVmZvcnRyYW4KcDI0CmczCihnNAooSTAKdHAyNQpnMTAKdHAyNgpScDI3CihJMQooSTIKSTMKdHAyOApnMTcKSTAxCmc2CihWXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwQEBcdTAwMDBcdTAwMDCAP1x1MDAwMFx1MDAwMIBAXHUwMDAwXHUwMDAwXHUwMDAwQFx1MDAwMFx1MDAwMKBACnAyOQpnOAp0cDMwClJwMzEKdHAzMgpic1ZiaWcKcDMzCmczCihnNAooSTAKdHAzNApnMTAKdHAzNQpScDM2CihJMQooSTIKSTMKdHAzNwpnMTQKKFZmNApwMzgKSTAwCkkwMQp0cDM5ClJwNDAKKEkzClY+CnA0MQpOTk5JLTEKSS0xCkkwCnRwNDIKYkkwMApnNgooVlx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMD+AXHUwMDAwXHUwMDAwQFx1MDAwMFx1MDAwMFx1MDAwMEBAXHUwMDAwXHUwMDAwQIBcdTAwMDBcdTAwMDBAoFx1MDAwMFx1MDAwMApwNDMKZzgKdHA0NApScDQ1CnRwNDYKYnNWYmlnX2ZvcnRyYW4KcDQ3CmczCihnNAooSTAKdHA0OApnMTAKdHA0OQpScDUwCihJMQooSTIKSTMKdHA1MQpnMTQKKFZmOApwNTIKSTAwCkkwMQp0cDUzClJwNTQKKEkzCmc0MQpOTk5JLTEKSS0xCkkwCnRwNTUKYkkwMQpnNgooVlx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMEAIXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwP/BcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBAEFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMEBcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDBAFFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMApwNTYKZzgKdHA1NwpScDU4CnRwNTkKYnNWaGFsZgpwNjAKZzMKKGc0CihJMAp0cDYxCmcxMAp0cDYyClJwNjMKKEkxCihJMgpJMwp0cDY0CmcxNAooVmYyCnA2NQpJMDAKSTAxCnRwNjYKUnA2NwooSTMKZzE4Ck5OTkktMQpJLTEKSTAKdHA2OApiSTAwCmc2CihWXHUwMDAwXHUwMDAwXHUwMDAwPFx1MDAwMEBcdTAwMDBCXHUwMDAwRFx1MDAwMEUKcDY5Cmc4CnRwNzAKUnA3MQp0cDcyCmJzVmNvdW50ZXIKcDczCmczCihnNAooSTAKdHA3NApnMTAKdHA3NQpScDc2CihJMQoodGcxNAooVmk4CnA3NwpJMDAKSTAxCnRwNzgKUnA3OQooSTMKZzE4Ck5OTkktMQpJLTEKSTAKdHA4MApiSTAwCmc2CihWB1x1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMApwODEKZzgKdHA4MgpScDgzCnRwODQKYnNWc2NhbGFyCnA4NQpjbnVtcHkuX2NvcmUubXVsdGlhcnJheQpzY2FsYXIKcDg2CihnNzkKZzYKKFb3/////////wpwODcKZzgKdHA4OApScDg5CnRwOTAKUnA5MQpzVmVtcHR5CnA5MgpnMwooZzQKKEkwCnRwOTMKZzEwCnRwOTQKUnA5NQooSTEKKEkwCkk0CnRwOTYKZzE3CkkwMApjX19idWlsdGluX18KYnl0ZXMKcDk3Cih0UnA5OAp0cDk5CmJzVmNvbXBsZXgKcDEwMApnMwooZzQKKEkwCnRwMTAxCmcxMAp0cDEwMgpScDEwMwooSTEKKEkyCnRwMTA0CmcxNAooVmM4CnAxMDUKSTAwCkkwMQp0cDEwNgpScDEwNwooSTMKZzE4Ck5OTkktMQpJLTEKSTAKdHAxMDgKYkkwMApnNgooVlx1MDAwMFx1MDAwMIA/XHUwMDAwXHUwMDAwXHUwMDAwQFx1MDAwMFx1MDAwMEBAXHUwMDAwXHUwMDAwgMAKcDEwOQpnOAp0cDExMApScDExMQp0cDExMgpic1ZiaWdfY29tcGxleApwMTEzCmczCihnNAooSTAKdHAxMTQKZzEwCnRwMTE1ClJwMTE2CihJMQooSTIKdHAxMTcKZzE0CihWYzgKcDExOApJMDAKSTAxCnRwMTE5ClJwMTIwCihJMwpnNDEKTk5OSS0xCkktMQpJMAp0cDEyMQpiSTAwCmc2CihWP4BcdTAwMDBcdTAwMDBAXHUwMDAwXHUwMDAwXHUwMDAwQEBcdTAwMDBcdTAwMDDAgFx1MDAwMFx1MDAwMApwMTIyCmc4CnRwMTIzClJwMTI0CnRwMTI1CmJzVnUxNgpwMTI2CmczCihnNAooSTAKdHAxMjcKZzEwCnRwMTI4ClJwMTI5CihJMQooSTIKdHAxMzAKZzE0CihWdTIKcDEzMQpJMDAKSTAxCnRwMTMyClJwMTMzCihJMwpnMTgKTk5OSS0xCkktMQpJMAp0cDEzNApiSTAwCmc2CihWAVx1MDAwMP//CnAxMzUKZzgKdHAxMzYKUnAxMzcKdHAxMzgKYnNWYm9vbApwMTM5CmczCihnNAooSTAKdHAxNDAKZzEwCnRwMTQxClJwMTQyCihJMQooSTIKdHAxNDMKZzE0CihWYjEKcDE0NApJMDAKSTAxCnRwMTQ1ClJwMTQ2CihJMwpWfApwMTQ3Ck5OTkktMQpJLTEKSTAKdHAxNDgKYkkwMApnNgooVgFcdTAwMDAKcDE0OQpnOAp0cDE1MApScDE1MQp0cDE1Mgpic1ZiZjE2CnAxNTMKZzMKKGc0CihJMAp0cDE1NApnMTAKdHAxNTUKUnAxNTYKKEkxCihJMgp0cDE1NwpnMTQKKGNtbF9kdHlwZXMKYmZsb2F0MTYKcDE1OApJMDAKSTAxCnRwMTU5ClJwMTYwCihJMwpnMTgKTk5OSTIKSTIKSTY0CnRwMTYxCmJJMDAKZzYKKFaAP1x1MDAwMMAKcDE2MgpnOAp0cDE2MwpScDE2NAp0cDE2NQpic1ZoaWdoCnAxNjYKZzMKKGc0CihJMAp0cDE2NwpnMTAKdHAxNjgKUnAxNjkKKEkxCihJNQp0cDE3MApnMTQKKFZ1MQpwMTcxCkkwMApJMDEKdHAxNzIKUnAxNzMKKEkzCmcxNDcKTk5OSS0xCkktMQpJMAp0cDE3NApiSTAwCmc2CihW6cOpgP8KcDE3NQpnOAp0cDE3NgpScDE3Nwp0cDE3OApic1Z0ZXh0CnAxNzkKZzMKKGc0CihJMAp0cDE4MApnMTAKdHAxODEKUnAxODIKKEkxCihJMgp0cDE4MwpnMTQKKFZVMgpwMTg0CkkwMApJMDEKdHAxODUKUnAxODYKKEkzCmcxOApOTk5JOApJNApJOAp0cDE4NwpiSTAwCmc2CihWYVx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMFx1MDAwMGJcdTAwMDBcdTAwMDBcdTAwMDBjXHUwMDAwXHUwMDAwXHUwMDAwCnAxODgKZzgKdHAxODkKUnAxOTAKdHAxOTEKYnNWb2JqZWN0cwpwMTkyCmczCihnNAooSTAKdHAxOTMKZzEwCnRwMTk0ClJwMTk1CihJMQooSTIKdHAxOTYKZzE0CihWTzgKcDE5NwpJMDAKSTAxCnRwMTk4ClJwMTk5CihJMwpnMTQ3Ck5OTkktMQpJLTEKSTYzCnRwMjAwCmJJMDAKKGxwMjAxCkkxCmFWeApwMjAyCmF0cDIwMwpic1ZyZWNvcmQKcDIwNApnMwooZzQKKEkwCnRwMjA1CmcxMAp0cDIwNgpScDIwNwooSTEKKEkxCnRwMjA4CmcxNAooVlY0CnAyMDkKSTAwCkkwMQp0cDIxMApScDIxMQooSTMKZzE0NwpOKFZhCnAyMTIKdHAyMTMKKGRwMjE0CmcyMTIKKGcxNwpJMAp0cDIxNQpzSTQKSTEKSTE2CnRwMjE2CmJJMDAKZzYKKFZcdTAwMDBcdTAwMDBcdTAwMDBcdTAwMDAKcDIxNwpnOAp0cDIxOApScDIxOQp0cDIyMApic1ZjMTI4CnAyMjEKZzMKKGc0CihJMAp0cDIyMgpnMTAKdHAyMjMKUnAyMjQKKEkxCihJMQp0cDIyNQpnMTQKKFZjMTYKcDIyNgpJMDAKSTAxCnRwMjI3ClJwMjI4CihJMwpnMTgKTk5OSS0xCkktMQpJMAp0cDIyOQpiSTAwCmc2CihWXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAwXHUwMDAw8D8KcDIzMApnOAp0cDIzMQpScDIzMgp0cDIzMwpic1ZTdHJ1Y3R1cmVkVG9QYXJhbWV0ZXJOYW1lQEAKcDIzNAooZHAyMzUKZzIKVmxpbmVhcl8wLndfMApwMjM2CnNzLg==',
  'Y2NvbGxlY3Rpb25zCk9yZGVyZWREaWN0CnEAKVJxAShYAQAAAGNxAmNudW1weS5fY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApxAyhjbnVtcHkKbmRhcnJheQpxBChLAHRxBWNfY29kZWNzCmVuY29kZQpxBihYAQAAAGJxB1gGAAAAbGF0aW4xcQh0cQlScQp0cQtScQwoSwEoSwJLA3RxDWNudW1weQpkdHlwZQpxDihYAgAAAGY0cQ9JMDAKSTAxCnRxEFJxEShLA1gBAAAAPHESTk5OSv////9K/////0sAdHETYkkwMApoBihYGwAAAAAAAAAAAMKAPwAAAEAAAEBAAADCgEAAAMKgQHEUaAh0cRVScRZ0cRdiWAcAAABmb3J0cmFucRhoAyhoBChLAHRxGWgKdHEaUnEbKEsBKEsCSwN0cRxoEUkwMQpoBihYGwAAAAAAAAAAAEBAAADCgD8AAMKAQAAAAEAAAMKgQHEdaAh0cR5ScR90cSBiWAMAAABiaWdxIWgDKGgEKEsAdHEiaAp0cSNScSQoSwEoSwJLA3RxJWgOKFgCAAAAZjRxJkkwMApJMDEKdHEnUnEoKEsDWAEAAAA+cSlOTk5K/////0r/////SwB0cSpiSTAwCmgGKFgbAAAAAAAAAD/CgAAAQAAAAEBAAABAwoAAAEDCoAAAcStoCHRxLFJxLXRxLmJYCwAAAGJpZ19mb3J0cmFucS9oAyhoBChLAHRxMGgKdHExUnEyKEsBKEsCSwN0cTNoDihYAgAAAGY4cTRJMDAKSTAxCnRxNVJxNihLA2gpTk5OSv////9K/////0sAdHE3YkkwMQpoBihYMQAAAAAAAAAAAAAAQAgAAAAAAAA/w7AAAAAAAABAEAAAAAAAAEAAAAAAAAAAQBQAAAAAAABxOGgIdHE5UnE6dHE7YlgEAAAAaGFsZnE8aAMoaAQoSwB0cT1oCnRxPlJxPyhLAShLAksDdHFAaA4oWAIAAABmMnFBSTAwCkkwMQp0cUJScUMoSwNoEk5OTkr/////Sv////9LAHRxRGJJMDAKaAYoWAwAAAAAAAA8AEAAQgBEAEVxRWgIdHFGUnFHdHFIYlgHAAAAY291bnRlcnFJaAMoaAQoSwB0cUpoCnRxS1JxTChLASloDihYAgAAAGk4cU1JMDAKSTAxCnRxTlJxTyhLA2gSTk5OSv////9K/////0sAdHFQYkkwMApoBihYCAAAAAcAAAAAAAAAcVFoCHRxUlJxU3RxVGJYBgAAAHNjYWxhcnFVY251bXB5Ll9jb3JlLm11bHRpYXJyYXkKc2NhbGFyCnFWKGhPaAYoWBAAAADDt8O/w7/Dv8O/w7/Dv8O/cVdoCHRxWFJxWXRxWlJxW1gFAAAAZW1wdHlxXGgDKGgEKEsAdHFdaAp0cV5ScV8oSwEoSwBLBHRxYGgRSTAwCmNfX2J1aWx0aW5fXwpieXRlcwpxYSlScWJ0cWNiWAcAAABjb21wbGV4cWRoAyhoBChLAHRxZWgKdHFmUnFnKEsBKEsCdHFoaA4oWAIAAABjOHFpSTAwCkkwMQp0cWpScWsoSwNoEk5OTkr/////Sv////9LAHRxbGJJMDAKaAYoWBMAAAAAAMKAPwAAAEAAAEBAAADCgMOAcW1oCHRxblJxb3RxcGJYCwAAAGJpZ19jb21wbGV4cXFoAyhoBChLAHRxcmgKdHFzUnF0KEsBKEsCdHF1aA4oWAIAAABjOHF2STAwCkkwMQp0cXdScXgoSwNoKU5OTkr/////Sv////9LAHRxeWJJMDAKaAYoWBMAAAA/woAAAEAAAABAQAAAw4DCgAAAcXpoCHRxe1JxfHRxfWJYAwAAAHUxNnF+aAMoaAQoSwB0cX9oCnRxgFJxgShLAShLAnRxgmgOKFgCAAAAdTJxg0kwMApJMDEKdHGEUnGFKEsDaBJOTk5K/////0r/////SwB0cYZiSTAwCmgGKFgGAAAAAQDDv8O/cYdoCHRxiFJxiXRximJYBAAAAGJvb2xxi2gDKGgEKEsAdHGMaAp0cY1ScY4oSwEoSwJ0cY9oDihYAgAAAGIxcZBJMDAKSTAxCnRxkVJxkihLA1gBAAAAfHGTTk5OSv////9K/////0sAdHGUYkkwMApoBihYAgAAAAEAcZVoCHRxllJxl3RxmGJYBAAAAGJmMTZxmWgDKGgEKEsAdHGaaAp0cZtScZwoSwEoSwJ0cZ1oDihjbWxfZHR5cGVzCmJmbG9hdDE2CnGeSTAwCkkwMQp0cZ9ScaAoSwNoEk5OTksCSwJLQHRxoWJJMDAKaAYoWAYAAADCgD8Aw4BxomgIdHGjUnGkdHGlYlgEAAAAaGlnaHGmaAMoaAQoSwB0cadoCnRxqFJxqShLAShLBXRxqmgOKFgCAAAAdTFxq0kwMApJMDEKdHGsUnGtKEsDaJNOTk5K/////0r/////SwB0ca5iSTAwCmgGKFgKAAAAw6nDg8KpwoDDv3GvaAh0cbBScbF0cbJiWAQAAAB0ZXh0cbNoAyhoBChLAHRxtGgKdHG1UnG2KEsBKEsCdHG3aA4oWAIAAABVMnG4STAwCkkwMQp0cblScbooSwNoEk5OTksISwRLCHRxu2JJMDAKaAYoWBAAAABhAAAAAAAAAGIAAABjAAAAcbxoCHRxvVJxvnRxv2JYBwAAAG9iamVjdHNxwGgDKGgEKEsAdHHBaAp0ccJSccMoSwEoSwJ0ccRoDihYAgAAAE84ccVJMDAKSTAxCnRxxlJxxyhLA2iTTk5OSv////9K/////0s/dHHIYkkwMApdcckoSwFYAQAAAHhxymV0cctiWAYAAAByZWNvcmRxzGgDKGgEKEsAdHHNaAp0cc5Scc8oSwEoSwF0cdBoDihYAgAAAFY0cdFJMDAKSTAxCnRx0lJx0yhLA2iTTihYAQAAAGFx1HRx1X1x1mjUKGgRSwB0cddzSwRLAUsQdHHYYkkwMApoBihYBAAAAAAAAABx2WgIdHHaUnHbdHHcYlgEAAAAYzEyOHHdaAMoaAQoSwB0cd5oCnRx31Jx4ChLAShLAXRx4WgOKFgDAAAAYzE2ceJJMDAKSTAxCnRx41Jx5ChLA2gSTk5OSv////9K/////0sAdHHlYkkwMApoBihYEQAAAAAAAAAAAAAAAAAAAAAAw7A/ceZoCHRx51Jx6HRx6WJYGwAAAFN0cnVjdHVyZWRUb1BhcmFtZXRlck5hbWVAQHHqfXHraAJYDAAAAGxpbmVhcl8wLndfMHHsc3Uu',
  'gAJjY29sbGVjdGlvbnMKT3JkZXJlZERpY3QKcQApUnEBKFgBAAAAY3ECY251bXB5Ll9jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CnEDY251bXB5Cm5kYXJyYXkKcQRLAIVxBWNfY29kZWNzCmVuY29kZQpxBlgBAAAAYnEHWAYAAABsYXRpbjFxCIZxCVJxCodxC1JxDChLAUsCSwOGcQ1jbnVtcHkKZHR5cGUKcQ5YAgAAAGY0cQ+JiIdxEFJxEShLA1gBAAAAPHESTk5OSv////9K/////0sAdHETYoloBlgbAAAAAAAAAAAAwoA/AAAAQAAAQEAAAMKAQAAAwqBAcRRoCIZxFVJxFnRxF2JYBwAAAGZvcnRyYW5xGGgDaARLAIVxGWgKh3EaUnEbKEsBSwJLA4ZxHGgRiGgGWBsAAAAAAAAAAABAQAAAwoA/AADCgEAAAABAAADCoEBxHWgIhnEeUnEfdHEgYlgDAAAAYmlncSFoA2gESwCFcSJoCodxI1JxJChLAUsCSwOGcSVoDlgCAAAAZjRxJomIh3EnUnEoKEsDWAEAAAA+cSlOTk5K/////0r/////SwB0cSpiiWgGWBsAAAAAAAAAP8KAAABAAAAAQEAAAEDCgAAAQMKgAABxK2gIhnEsUnEtdHEuYlgLAAAAYmlnX2ZvcnRyYW5xL2gDaARLAIVxMGgKh3ExUnEyKEsBSwJLA4ZxM2gOWAIAAABmOHE0iYiHcTVScTYoSwNoKU5OTkr/////Sv////9LAHRxN2KIaAZYMQAAAAAAAAAAAAAAQAgAAAAAAAA/w7AAAAAAAABAEAAAAAAAAEAAAAAAAAAAQBQAAAAAAABxOGgIhnE5UnE6dHE7YlgEAAAAaGFsZnE8aANoBEsAhXE9aAqHcT5ScT8oSwFLAksDhnFAaA5YAgAAAGYycUGJiIdxQlJxQyhLA2gSTk5OSv////9K/////0sAdHFEYoloBlgMAAAAAAAAPABAAEIARABFcUVoCIZxRlJxR3RxSGJYBwAAAGNvdW50ZXJxSWgDaARLAIVxSmgKh3FLUnFMKEsBKWgOWAIAAABpOHFNiYiHcU5ScU8oSwNoEk5OTkr/////Sv////9LAHRxUGKJaAZYCAAAAAcAAAAAAAAAcVFoCIZxUlJxU3RxVGJYBgAAAHNjYWxhcnFVY251bXB5Ll9jb3JlLm11bHRpYXJyYXkKc2NhbGFyCnFWaE9oBlgQAAAAw7fDv8O/w7/Dv8O/w7/Dv3FXaAiGcVhScVmGcVpScVtYBQAAAGVtcHR5cVxoA2gESwCFcV1oCodxXlJxXyhLAUsASwSGcWBoEYljX19idWlsdGluX18KYnl0ZXMKcWEpUnFidHFjYlgHAAAAY29tcGxleHFkaANoBEsAhXFlaAqHcWZScWcoSwFLAoVxaGgOWAIAAABjOHFpiYiHcWpScWsoSwNoEk5OTkr/////Sv////9LAHRxbGKJaAZYEwAAAAAAwoA/AAAAQAAAQEAAAMKAw4BxbWgIhnFuUnFvdHFwYlgLAAAAYmlnX2NvbXBsZXhxcWgDaARLAIVxcmgKh3FzUnF0KEsBSwKFcXVoDlgCAAAAYzhxdomIh3F3UnF4KEsDaClOTk5K/////0r/////SwB0cXliiWgGWBMAAAA/woAAAEAAAABAQAAAw4DCgAAAcXpoCIZxe1JxfHRxfWJYAwAAAHUxNnF+aANoBEsAhXF/aAqHcYBScYEoSwFLAoVxgmgOWAIAAAB1MnGDiYiHcYRScYUoSwNoEk5OTkr/////Sv////9LAHRxhmKJaAZYBgAAAAEAw7/Dv3GHaAiGcYhScYl0cYpiWAQAAABib29scYtoA2gESwCFcYxoCodxjVJxjihLAUsChXGPaA5YAgAAAGIxcZCJiIdxkVJxkihLA1gBAAAAfHGTTk5OSv////9K/////0sAdHGUYoloBlgCAAAAAQBxlWgIhnGWUnGXdHGYYlgEAAAAYmYxNnGZaANoBEsAhXGaaAqHcZtScZwoSwFLAoVxnWgOY21sX2R0eXBlcwpiZmxvYXQxNgpxnomIh3GfUnGgKEsDaBJOTk5LAksCS0B0caFiiWgGWAYAAADCgD8Aw4BxomgIhnGjUnGkdHGlYlgEAAAAaGlnaHGmaANoBEsAhXGnaAqHcahScakoSwFLBYVxqmgOWAIAAAB1MXGriYiHcaxSca0oSwNok05OTkr/////Sv////9LAHRxrmKJaAZYCgAAAMOpw4PCqcKAw79xr2gIhnGwUnGxdHGyYlgEAAAAdGV4dHGzaANoBEsAhXG0aAqHcbVScbYoSwFLAoVxt2gOWAIAAABVMnG4iYiHcblScbooSwNoEk5OTksISwRLCHRxu2KJaAZYEAAAAGEAAAAAAAAAYgAAAGMAAABxvGgIhnG9UnG+dHG/YlgHAAAAb2JqZWN0c3HAaANoBEsAhXHBaAqHccJSccMoSwFLAoVxxGgOWAIAAABPOHHFiYiHccZScccoSwNok05OTkr/////Sv////9LP3RxyGKJXXHJKEsBWAEAAAB4ccpldHHLYlgGAAAAcmVjb3JkccxoA2gESwCFcc1oCodxzlJxzyhLAUsBhXHQaA5YAgAAAFY0cdGJiIdx0lJx0yhLA2iTTlgBAAAAYXHUhXHVfXHWaNRoEUsAhnHXc0sESwFLEHRx2GKJaAZYBAAAAAAAAABx2WgIhnHaUnHbdHHcYlgEAAAAYzEyOHHdaANoBEsAhXHeaAqHcd9SceAoSwFLAYVx4WgOWAMAAABjMTZx4omIh3HjUnHkKEsDaBJOTk5K/////0r/////SwB0ceViiWgGWBEAAAAAAAAAAAAAAAAAAAAAAMOwP3HmaAiGcedSceh0celiWBsAAABTdHJ1Y3R1cmVkVG9QYXJhbWV0ZXJOYW1lQEBx6n1x62gCWAwAAABsaW5lYXJfMC53XzBx7HN1Lg==',
  'gANjY29sbGVjdGlvbnMKT3JkZXJlZERpY3QKcQApUnEBKFgBAAAAY3ECY251bXB5Ll9jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CnEDY251bXB5Cm5kYXJyYXkKcQRLAIVxBUMBYnEGh3EHUnEIKEsBSwJLA4ZxCWNudW1weQpkdHlwZQpxClgCAAAAZjRxC4mIh3EMUnENKEsDWAEAAAA8cQ5OTk5K/////0r/////SwB0cQ9iiUMYAAAAAAAAgD8AAABAAABAQAAAgEAAAKBAcRB0cRFiWAcAAABmb3J0cmFucRJoA2gESwCFcRNoBodxFFJxFShLAUsCSwOGcRZoDYhDGAAAAAAAAEBAAACAPwAAgEAAAABAAACgQHEXdHEYYlgDAAAAYmlncRloA2gESwCFcRpoBodxG1JxHChLAUsCSwOGcR1oClgCAAAAZjRxHomIh3EfUnEgKEsDWAEAAAA+cSFOTk5K/////0r/////SwB0cSJiiUMYAAAAAD+AAABAAAAAQEAAAECAAABAoAAAcSN0cSRiWAsAAABiaWdfZm9ydHJhbnElaANoBEsAhXEmaAaHcSdScSgoSwFLAksDhnEpaApYAgAAAGY4cSqJiIdxK1JxLChLA2ghTk5OSv////9K/////0sAdHEtYohDMAAAAAAAAAAAQAgAAAAAAAA/8AAAAAAAAEAQAAAAAAAAQAAAAAAAAABAFAAAAAAAAHEudHEvYlgEAAAAaGFsZnEwaANoBEsAhXExaAaHcTJScTMoSwFLAksDhnE0aApYAgAAAGYycTWJiIdxNlJxNyhLA2gOTk5OSv////9K/////0sAdHE4YolDDAAAADwAQABCAEQARXE5dHE6YlgHAAAAY291bnRlcnE7aANoBEsAhXE8aAaHcT1ScT4oSwEpaApYAgAAAGk4cT+JiIdxQFJxQShLA2gOTk5OSv////9K/////0sAdHFCYolDCAcAAAAAAAAAcUN0cURiWAYAAABzY2FsYXJxRWNudW1weS5fY29yZS5tdWx0aWFycmF5CnNjYWxhcgpxRmhBQwj3/////////3FHhnFIUnFJWAUAAABlbXB0eXFKaANoBEsAhXFLaAaHcUxScU0oSwFLAEsEhnFOaA2JQwBxT3RxUGJYBwAAAGNvbXBsZXhxUWgDaARLAIVxUmgGh3FTUnFUKEsBSwKFcVVoClgCAAAAYzhxVomIh3FXUnFYKEsDaA5OTk5K/////0r/////SwB0cVliiUMQAACAPwAAAEAAAEBAAACAwHFadHFbYlgLAAAAYmlnX2NvbXBsZXhxXGgDaARLAIVxXWgGh3FeUnFfKEsBSwKFcWBoClgCAAAAYzhxYYmIh3FiUnFjKEsDaCFOTk5K/////0r/////SwB0cWRiiUMQP4AAAEAAAABAQAAAwIAAAHFldHFmYlgDAAAAdTE2cWdoA2gESwCFcWhoBodxaVJxaihLAUsChXFraApYAgAAAHUycWyJiIdxbVJxbihLA2gOTk5OSv////9K/////0sAdHFvYolDBAEA//9xcHRxcWJYBAAAAGJvb2xxcmgDaARLAIVxc2gGh3F0UnF1KEsBSwKFcXZoClgCAAAAYjFxd4mIh3F4UnF5KEsDWAEAAAB8cXpOTk5K/////0r/////SwB0cXtiiUMCAQBxfHRxfWJYBAAAAGJmMTZxfmgDaARLAIVxf2gGh3GAUnGBKEsBSwKFcYJoCmNtbF9kdHlwZXMKYmZsb2F0MTYKcYOJiIdxhFJxhShLA2gOTk5OSwJLAktAdHGGYolDBIA/AMBxh3RxiGJYBAAAAGhpZ2hxiWgDaARLAIVximgGh3GLUnGMKEsBSwWFcY1oClgCAAAAdTFxjomIh3GPUnGQKEsDaHpOTk5K/////0r/////SwB0cZFiiUMF6cOpgP9xknRxk2JYBAAAAHRleHRxlGgDaARLAIVxlWgGh3GWUnGXKEsBSwKFcZhoClgCAAAAVTJxmYmIh3GaUnGbKEsDaA5OTk5LCEsESwh0cZxiiUMQYQAAAAAAAABiAAAAYwAAAHGddHGeYlgHAAAAb2JqZWN0c3GfaANoBEsAhXGgaAaHcaFScaIoSwFLAoVxo2gKWAIAAABPOHGkiYiHcaVScaYoSwNoek5OTkr/////Sv////9LP3Rxp2KJXXGoKEsBWAEAAAB4calldHGqYlgGAAAAcmVjb3JkcatoA2gESwCFcaxoBodxrVJxrihLAUsBhXGvaApYAgAAAFY0cbCJiIdxsVJxsihLA2h6TlgBAAAAYXGzhXG0fXG1aLNoDUsAhnG2c0sESwFLEHRxt2KJQwQAAAAAcbh0cbliWAQAAABjMTI4cbpoA2gESwCFcbtoBodxvFJxvShLAUsBhXG+aApYAwAAAGMxNnG/iYiHccBSccEoSwNoDk5OTkr/////Sv////9LAHRxwmKJQxAAAAAAAAAAAAAAAAAAAPA/ccN0ccRiWBsAAABTdHJ1Y3R1cmVkVG9QYXJhbWV0ZXJOYW1lQEBxxX1xxmgCWAwAAABsaW5lYXJfMC53XzBxx3N1Lg==',
  'gASVVQYAAAAAAACMC2NvbGxlY3Rpb25zlIwLT3JkZXJlZERpY3SUk5QpUpQojAFjlIwWbnVtcHkuX2NvcmUubXVsdGlhcnJheZSMDF9yZWNvbnN0cnVjdJSTlIwFbnVtcHmUjAduZGFycmF5lJOUSwCFlEMBYpSHlFKUKEsBSwJLA4aUaAiMBWR0eXBllJOUjAJmNJSJiIeUUpQoSwOMATyUTk5OSv////9K/////0sAdJRiiUMYAAAAAAAAgD8AAABAAABAQAAAgEAAAKBAlHSUYowHZm9ydHJhbpRoB2gKSwCFlGgMh5RSlChLAUsCSwOGlGgUiEMYAAAAAAAAQEAAAIA/AACAQAAAAEAAAKBAlHSUYowDYmlnlGgHaApLAIWUaAyHlFKUKEsBSwJLA4aUaBGMAmY0lImIh5RSlChLA4wBPpROTk5K/////0r/////SwB0lGKJQxgAAAAAP4AAAEAAAABAQAAAQIAAAECgAACUdJRijAtiaWdfZm9ydHJhbpRoB2gKSwCFlGgMh5RSlChLAUsCSwOGlGgRjAJmOJSJiIeUUpQoSwNoKE5OTkr/////Sv////9LAHSUYohDMAAAAAAAAAAAQAgAAAAAAAA/8AAAAAAAAEAQAAAAAAAAQAAAAAAAAABAFAAAAAAAAJR0lGKMBGhhbGaUaAdoCksAhZRoDIeUUpQoSwFLAksDhpRoEYwCZjKUiYiHlFKUKEsDaBVOTk5K/////0r/////SwB0lGKJQwwAAAA8AEAAQgBEAEWUdJRijAdjb3VudGVylGgHaApLAIWUaAyHlFKUKEsBKWgRjAJpOJSJiIeUUpQoSwNoFU5OTkr/////Sv////9LAHSUYolDCAcAAAAAAAAAlHSUYowGc2NhbGFylGgFjAZzY2FsYXKUk5RoSEMI9/////////+UhpRSlIwFZW1wdHmUaAdoCksAhZRoDIeUUpQoSwFLAEsEhpRoFIlDAJR0lGKMB2NvbXBsZXiUaAdoCksAhZRoDIeUUpQoSwFLAoWUaBGMAmM4lImIh5RSlChLA2gVTk5OSv////9K/////0sAdJRiiUMQAACAPwAAAEAAAEBAAACAwJR0lGKMC2JpZ19jb21wbGV4lGgHaApLAIWUaAyHlFKUKEsBSwKFlGgRjAJjOJSJiIeUUpQoSwNoKE5OTkr/////Sv////9LAHSUYolDED+AAABAAAAAQEAAAMCAAACUdJRijAN1MTaUaAdoCksAhZRoDIeUUpQoSwFLAoWUaBGMAnUylImIh5RSlChLA2gVTk5OSv////9K/////0sAdJRiiUMEAQD//5R0lGKMBGJvb2yUaAdoCksAhZRoDIeUUpQoSwFLAoWUaBGMAmIxlImIh5RSlChLA4wBfJROTk5K/////0r/////SwB0lGKJQwIBAJR0lGKMBGJmMTaUaAdoCksAhZRoDIeUUpQoSwFLAoWUaBGMCW1sX2R0eXBlc5SMCGJmbG9hdDE2lJOUiYiHlFKUKEsDaBVOTk5LAksCS0B0lGKJQwSAPwDAlHSUYowEaGlnaJRoB2gKSwCFlGgMh5RSlChLAUsFhZRoEYwCdTGUiYiHlFKUKEsDaIJOTk5K/////0r/////SwB0lGKJQwXpw6mA/5R0lGKMBHRleHSUaAdoCksAhZRoDIeUUpQoSwFLAoWUaBGMAlUylImIh5RSlChLA2gVTk5OSwhLBEsIdJRiiUMQYQAAAAAAAABiAAAAYwAAAJR0lGKMB29iamVjdHOUaAdoCksAhZRoDIeUUpQoSwFLAoWUaBGMAk84lImIh5RSlChLA2iCTk5OSv////9K/////0s/dJRiiV2UKEsBjAF4lGV0lGKMBnJlY29yZJRoB2gKSwCFlGgMh5RSlChLAUsBhZRoEYwCVjSUiYiHlFKUKEsDaIJOjAFhlIWUfZRovWgUSwCGlHNLBEsBSxB0lGKJQwQAAAAAlHSUYowEYzEyOJRoB2gKSwCFlGgMh5RSlChLAUsBhZRoEYwDYzE2lImIh5RSlChLA2gVTk5OSv////9K/////0sAdJRiiUMQAAAAAAAAAAAAAAAAAADwP5R0lGKMG1N0cnVjdHVyZWRUb1BhcmFtZXRlck5hbWVAQJR9lGgEjAxsaW5lYXJfMC53XzCUc3Uu',
  'gAWVMgYAAAAAAACMC2NvbGxlY3Rpb25zlIwLT3JkZXJlZERpY3SUk5QpUpQojAFjlIwTbnVtcHkuX2NvcmUubnVtZXJpY5SMC19mcm9tYnVmZmVylJOUKJYYAAAAAAAAAAAAAAAAAIA/AAAAQAAAQEAAAIBAAACgQJSMBW51bXB5lIwFZHR5cGWUk5SMAmY0lImIh5RSlChLA4wBPJROTk5K/////0r/////SwB0lGJLAksDhpSMAUOUdJRSlIwHZm9ydHJhbpRoByiWGAAAAAAAAAAAAAAAAABAQAAAgD8AAIBAAAAAQAAAoECUaA5LAksDhpSMAUaUdJRSlIwDYmlnlGgHKJYYAAAAAAAAAAAAAAA/gAAAQAAAAEBAAABAgAAAQKAAAJRoC4wCZjSUiYiHlFKUKEsDjAE+lE5OTkr/////Sv////9LAHSUYksCSwOGlGgSdJRSlIwLYmlnX2ZvcnRyYW6UaAcoljAAAAAAAAAAAAAAAAAAAABACAAAAAAAAD/wAAAAAAAAQBAAAAAAAABAAAAAAAAAAEAUAAAAAAAAlGgLjAJmOJSJiIeUUpQoSwNoIE5OTkr/////Sv////9LAHSUYksCSwOGlGgYdJRSlIwEaGFsZpRoByiWDAAAAAAAAAAAAAA8AEAAQgBEAEWUaAuMAmYylImIh5RSlChLA2gPTk5OSv////9K/////0sAdJRiSwJLA4aUaBJ0lFKUjAdjb3VudGVylGgHKJYIAAAAAAAAAAcAAAAAAAAAlGgLjAJpOJSJiIeUUpQoSwNoD05OTkr/////Sv////9LAHSUYiloEnSUUpSMBnNjYWxhcpSMFm51bXB5Ll9jb3JlLm11bHRpYXJyYXmUjAZzY2FsYXKUk5RoO0MI9/////////+UhpRSlIwFZW1wdHmUaAcolgAAAAAAAAAAlGgOSwBLBIaUaBJ0lFKUjAdjb21wbGV4lGgHKJYQAAAAAAAAAAAAgD8AAABAAABAQAAAgMCUaAuMAmM4lImIh5RSlChLA2gPTk5OSv////9K/////0sAdJRiSwKFlGgSdJRSlIwLYmlnX2NvbXBsZXiUaAcolhAAAAAAAAAAP4AAAEAAAABAQAAAwIAAAJRoC4wCYziUiYiHlFKUKEsDaCBOTk5K/////0r/////SwB0lGJLAoWUaBJ0lFKUjAN1MTaUaAcolgQAAAAAAAAAAQD//5RoC4wCdTKUiYiHlFKUKEsDaA9OTk5K/////0r/////SwB0lGJLAoWUaBJ0lFKUjARib29slGgHKJYCAAAAAAAAAAEAlGgLjAJiMZSJiIeUUpQoSwOMAXyUTk5OSv////9K/////0sAdJRiSwKFlGgSdJRSlIwEYmYxNpRoQIwMX3JlY29uc3RydWN0lJOUaAmMB25kYXJyYXmUk5RLAIWUQwFilIeUUpQoSwFLAoWUaAuMCW1sX2R0eXBlc5SMCGJmbG9hdDE2lJOUiYiHlFKUKEsDaA9OTk5LAksCS0B0lGKJQwSAPwDAlHSUYowEaGlnaJRoByiWBQAAAAAAAADpw6mA/5RoC4wCdTGUiYiHlFKUKEsDaGtOTk5K/////0r/////SwB0lGJLBYWUaBJ0lFKUjAR0ZXh0lGgHKJYQAAAAAAAAAGEAAAAAAAAAYgAAAGMAAACUaAuMAlUylImIh5RSlChLA2gPTk5OSwhLBEsIdJRiSwKFlGgSdJRSlIwHb2JqZWN0c5Rocmh0SwCFlGh2h5RSlChLAUsChZRoC4wCTziUiYiHlFKUKEsDaGtOTk5K/////0r/////Sz90lGKJXZQoSwGMAXiUZXSUYowGcmVjb3JklGgHKJYEAAAAAAAAAAAAAACUaAuMAlY0lImIh5RSlChLA2hrTowBYZSFlH2UaKVoDksAhpRzSwRLAUsQdJRiSwGFlGgSdJRSlIwEYzEyOJRoByiWEAAAAAAAAAAAAAAAAAAAAAAAAAAAAPA/lGgLjANjMTaUiYiHlFKUKEsDaA9OTk5K/////0r/////SwB0lGJLAYWUaBJ0lFKUjBtTdHJ1Y3R1cmVkVG9QYXJhbWV0ZXJOYW1lQECUfZRoBIwMbGluZWFyXzAud18wlHN1Lg==',
];

const SIX = [0, 1, 2, 3, 4, 5];
const numbers = ({ tensors }: Checkpoint, name: string) => Array.from(tensors.get(name)!.data as Float32Array);

describe.each(BY_NUMPY.map((text, protocol) => [protocol, Buffer.from(text, 'base64')] as const))(
  'protocol %i',
  (_, bytes) => {
    test('arrays of every order and type', async () => {
      const checkpoint = await read(bytes);
      expect(checkpoint.format).toBe('pickle');
      expect([...checkpoint.tensors].map(([name, { dtype, shape }]) => [name, dtype, ...shape])).toEqual([
        ['c', 'F32', 2, 3],
        ['fortran', 'F32', 2, 3],
        ['big', 'F32', 2, 3],
        ['big_fortran', 'F64', 2, 3],
        ['half', 'F16', 2, 3],
        ['counter', 'I64'],
        ['scalar', 'I64'],
        ['empty', 'F32', 0, 4],
        ['complex', 'C64', 2],
        ['big_complex', 'C64', 2],
        ['u16', 'U16', 2],
        ['bool', 'BOOL', 2],
        ['bf16', 'BF16', 2],
        ['high', 'U8', 5],
      ]);
      for (const name of ['c', 'fortran', 'big', 'big_fortran']) expect(numbers(checkpoint, name)).toEqual(SIX);
      expect(numbers(checkpoint, 'half')).toEqual([0, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500]);
      expect(numbers(checkpoint, 'counter')).toEqual([7n]);
      expect(numbers(checkpoint, 'scalar')).toEqual([-9n]);
      for (const name of ['complex', 'big_complex'])
        expect([...new Float32Array(checkpoint.tensors.get(name)!.data.buffer)]).toEqual([1, 2, 3, -4]);
      expect(numbers(checkpoint, 'u16')).toEqual([1, 65535]);
      expect(numbers(checkpoint, 'bool')).toEqual([1, 0]);
      expect(numbers(checkpoint, 'bf16')).toEqual([0x3f80, 0xc000]);
      expect(numbers(checkpoint, 'high')).toEqual([0xe9, 0xc3, 0xa9, 0x80, 0xff]);
    });

    test('arrays of text, objects, records and double complex numbers stay unread, and are told', async () => {
      const { unread, skipped } = await read(bytes);
      expect([...unread.keys()]).toEqual(['text', 'objects', 'record', 'c128']);
      expect(skipped.map(({ path }) => path)).toEqual([
        'StructuredToParameterName@@',
        'text',
        'objects',
        'record',
        'c128',
      ]);
    });
  },
);

/** An array as Python 2 pickles it: its bytes are a string of no stated encoding. */
function oldArray(values: Float32Array, { type = 'f4', order = '<', shape = [values.length] as Item[] } = {}): Buffer {
  const raw = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(raw.length);
  return array(Buffer.concat([Buffer.from('T'), length, raw]), { type, order, shape });
}

function array(data: Item, { type = 'f4', order = '<', shape = [2] as Item[] } = {}): Buffer {
  const empty = call('numpy.core.multiarray._reconstruct', global('numpy.ndarray'), tuple(0), 'b');
  const state = tuple(3, order, null, null, null, -1, -1, 0);
  const dtype = Buffer.concat([call('numpy.dtype', type, 0, 1), state, Buffer.from('b')]);
  return Buffer.concat([empty, tuple(1, tuple(...shape), dtype, false, data), Buffer.from('b')]);
}

const bytesOf = (values: Float32Array) =>
  Buffer.concat([
    Buffer.from('B'),
    item4(values.byteLength),
    Buffer.from(values.buffer, values.byteOffset, values.byteLength),
  ]);

function item4(value: number): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value);
  return length;
}

describe('as training code saves them', () => {
  const random = Float32Array.from({ length: 40_000 }, (_, i) => Math.sin(i) * 2 ** (i % 40));

  test('Detectron2: the weights beside their author and a flag', async () => {
    const model = dict({ 'conv1.weight': oldArray(random, { shape: [200, 200] }) });
    const checkpoint = await read(pickle(dict({ model, __author__: 'someone', matching_heuristics: true })));
    expect(checkpoint.keyPath).toEqual(['model']);
    expect(checkpoint.skipped.map(({ path }) => path)).toEqual(['__author__', 'matching_heuristics']);
    expect(checkpoint.tensors.get('conv1.weight')).toMatchObject({ dtype: 'F32', shape: [200, 200], data: random });
  });

  test.each([
    ['short', Float32Array.of(1.5, -2, 1e-30, Number.NaN)],
    ['such as UTF-8 takes for letters', new Float32Array(Uint8Array.of(0xc3, 0xa9, 0xc3, 0xa9).buffer)],
    ['such as UTF-8 does not take', new Float32Array(Uint8Array.of(0xff, 0xa9, 0x80, 0xa9).buffer)],
    ['long', random],
  ])('strings of Python 2 that are %s', async (_, values) => {
    const { tensors } = await read(pickle(dict({ w: oldArray(values) })));
    expect(Buffer.from(tensors.get('w')!.data.buffer).equals(Buffer.from(values.buffer))).toBe(true);
  });

  test('Paddle: tuples of a name and an array, static tensors, long text for bytes', async () => {
    const text = (values: Float32Array) =>
      call('_codecs.encode', Buffer.from(values.buffer).toString('latin1'), 'latin1');
    const named = call('__builtin__.tuple', tuple('linear_0.w_0', array(text(random), { shape: [40_000] })));
    const fixed = call('__builtin__.eval', 'data', dict({ data: array(bytesOf(Float32Array.of(1, 2))) }));
    const plain = tuple('linear_0.b_0', array(text(Float32Array.of(3, 4))));
    const { tensors } = await read(pickle(dict({ named, fixed, plain })));
    expect(tensors.get('named')!.data).toEqual(random);
    expect(tensors.get('fixed')!.data).toEqual(Float32Array.of(1, 2));
    expect(tensors.get('plain')!.data).toEqual(Float32Array.of(3, 4));
  });

  test('Paddle: arrays in parts are whole again', async () => {
    const root = dict({
      a: array(bytesOf(Float32Array.of(9, 9))),
      'w@@.0': array(bytesOf(random.subarray(0, 30_000)), { shape: [30_000] }),
      'w@@.1': array(bytesOf(random.subarray(30_000)), { shape: [10_000] }),
      'UnpackBigParamInfor@@': dict({ w: dict({ OriginShape: tuple(200, 200), slices: ['w@@.0', 'w@@.1'] }) }),
    });
    const { tensors } = await read(pickle(root));
    expect([...tensors.keys()]).toEqual(['a', 'w']);
    expect(tensors.get('w')).toMatchObject({ shape: [200, 200], data: random });
  });

  test('arrays in a file of torch', async () => {
    const root = dict({ state_dict: dict({ w: array(bytesOf(Float32Array.of(1, 2))) }), epoch: 3 });
    const { tensors, format } = await read(torchFile(root));
    expect([format, tensors.get('w')!.data]).toEqual(['torch-zip', Float32Array.of(1, 2)]);
  });
});

describe('hostile ones', () => {
  const two = bytesOf(Float32Array.of(1, 2));

  test.each<[string, Item, RegExp]>([
    ['too few bytes', array(two, { shape: [3] }), /"w".*takes 12 bytes but the file has 8/],
    ['too many bytes', array(two, { shape: [1] }), /takes 4 bytes but the file has 8/],
    ['a negative size', array(two, { shape: [-2] }), /shape/],
    ['a size with a fraction', array(two, { shape: [Buffer.from('F2.5\n')] }), /shape/],
    ['a size beyond 2^53', array(two, { shape: [2n ** 70n] }), /shape/],
    ['sizes that are only together too large', array(two, { shape: [2 ** 30, 2 ** 30, 0] }), /shape/],
    ['a hundred axes', array(two, { shape: Array(100).fill(1) }), /shape/],
    [
      'no shape',
      Buffer.concat([array(two).subarray(0, 0), call('numpy.core.multiarray._reconstruct', 1)]),
      /without a type/,
    ],
    ['no bytes', array(null), /no bytes/],
    ['text that is no bytes', array(call('_codecs.encode', '\u4e2d', 'latin1'), { shape: [1] }), /no bytes/],
    ['text in another encoding', array(call('_codecs.encode', 'abcd', 'rot13'), { shape: [1] }), /no bytes/],
  ])('%s', async (_, w, message) => {
    const error = await refusal(read(pickle(dict({ w }))));
    expect(error.message).toMatch(message);
    expect(error.details.tensor).toBe('w');
  });

  test.each(['len(data)', 'data ', '__import__("os").system("echo repfuse-canary")'])(
    'eval of %j is refused',
    async (text) => {
      const w = call('builtins.eval', text, dict({ data: array(two) }));
      const error = await refusal(read(pickle(dict({ w }))));
      expect(error.code).toBe('ERR_REPFUSE_PICKLE');
      expect(error.message).toContain('eval');
    },
  );

  test('one array under very many names is too large for its file', async () => {
    const large = Float32Array.from({ length: 1 << 20 }, (_, i) => i);
    const many = Array.from({ length: 300 }, (_, i) => [item(`w${i}`), Buffer.from('h\x01')]).flat();
    const root = Buffer.concat([
      array(bytesOf(large), { shape: [1 << 20] }),
      Buffer.from('q\x010}('),
      ...many,
      Buffer.from('u'),
    ]);
    expect((await refusal(read(pickle(root)))).message).toMatch(/too large/);
  });

  test('a cut file is named by array, bytes needed and bytes left', async () => {
    const values = Float32Array.from({ length: 40_000 }, (_, i) => i);
    for (const data of [
      bytesOf(values),
      call('_codecs.encode', Buffer.from(values.buffer).toString('latin1'), 'latin1'),
    ]) {
      const bytes = pickle(dict({ first: array(two), second: array(data, { shape: [40_000] }), third: array(two) }));
      const file = folder.write('cut.pdparams', bytes);
      truncateSync(file, bytes.length - 50_000);
      const error = await refusal(readCheckpoint(file));
      expect(error).toMatchObject({ code: 'ERR_REPFUSE_PICKLE', details: { tensor: 'second', file } });
      expect(error.details.needed).toBeGreaterThanOrEqual(160_000);
      expect(error.details.left).toBeGreaterThan(100_000);
      expect(error.message).toMatch(/truncated.*"second"/);
      expect(error.message).toContain(String(error.details.left));
    }
    const fixture = reportedPath('repvgg-numpy.pdparams');
    expect((await readCheckpoint(fixture)).tensors.size).toBeGreaterThan(10);
  });
});
