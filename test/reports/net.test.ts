/** The dataplane's half of the public reports: Services, policies, NAT, conntrack, load balancers. */
import { testReports } from './table.ts'

testReports('net')
